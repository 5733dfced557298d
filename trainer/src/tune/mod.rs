//! Automatic tuning: studies that any number of processes work on.
