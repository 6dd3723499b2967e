//! The supervision tree: starts every part in order and stops them in reverse.
