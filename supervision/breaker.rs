//! To be written: breaker.
