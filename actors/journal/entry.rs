//! One line of the journal: numbered, hash-chained, without client text.
