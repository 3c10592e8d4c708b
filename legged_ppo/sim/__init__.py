"""Physics engines behind the `Simulator` protocol."""
