//! Changes that the identity plane asks of the usage plane, delivered once.
