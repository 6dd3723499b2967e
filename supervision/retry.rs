//! To be written: retry.
