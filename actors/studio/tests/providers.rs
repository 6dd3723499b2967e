//! Providers and programs that misbehave.
