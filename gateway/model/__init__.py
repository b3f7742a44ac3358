"""The words that every other part of the gateway uses: routes, the record, how a request is routed. Plain data, no I/O."""
