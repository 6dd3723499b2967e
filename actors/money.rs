//! Money in integer minor and micro units.
