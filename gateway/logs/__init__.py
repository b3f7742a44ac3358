"""The durable log: records are written to segments, sealed as Parquet, shipped to a store, and read back with SQL."""
