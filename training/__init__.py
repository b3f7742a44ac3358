"""From logged traffic to an adapter. Reads logs; never imports the gateway's server."""
