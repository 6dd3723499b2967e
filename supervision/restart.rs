//! To be written: restart.
