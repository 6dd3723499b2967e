//! To be written: auth.
