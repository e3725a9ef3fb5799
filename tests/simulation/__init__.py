"""A deterministic simulation: real keepers on a simulated broker, group, network and clock. One seed is one history."""
