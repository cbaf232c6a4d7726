//! Empty on purpose: this package exists only for its Cargo.lock.
