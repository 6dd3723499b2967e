//! The outside world, simulated and breakable, and the harness that starts real servers.
