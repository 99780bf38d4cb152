"""The instrument held against itself, MLPerf LoadGen and wrk."""
