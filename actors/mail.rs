//! Mail through an outbox, behind a breaker.
