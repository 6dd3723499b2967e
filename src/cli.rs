//! To be written: cli.
