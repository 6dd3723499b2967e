//! Prefixed, time-ordered identifiers.
