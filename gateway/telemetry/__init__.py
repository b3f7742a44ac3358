"""What the gateway exports besides its own counters: engines, rollouts, costs and traces."""
