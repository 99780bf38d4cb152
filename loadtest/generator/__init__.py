"""The load generator: Locust users, loops, clocks and raw times. The only folder with gevent and locust."""
