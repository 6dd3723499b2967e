//! To be written: deadline.
