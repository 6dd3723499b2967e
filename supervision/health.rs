//! To be written: health.
