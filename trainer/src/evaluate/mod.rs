//! How good a classifier is, with how sure one can be of that.
