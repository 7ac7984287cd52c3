"""Benchmarks on a real Kafka broker: each contender in a process of its own on one core, the broker on the other."""
