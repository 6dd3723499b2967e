//! The key ring: sealing and keyed digests.
