//! What must be refused beforehand.
