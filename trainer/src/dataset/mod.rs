//! Datasets: selection and import, splits, immutable manifests.
