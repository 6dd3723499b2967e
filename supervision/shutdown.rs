//! To be written: shutdown.
