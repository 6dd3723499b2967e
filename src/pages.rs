//! To be written: pages.
