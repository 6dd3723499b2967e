//! To be written: server.
