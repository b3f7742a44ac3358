"""What the gateway tells the world about itself beyond its counters: prices, engines, rollouts, traces."""
