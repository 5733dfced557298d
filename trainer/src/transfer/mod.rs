//! Transfer: another model's features, and a last layer of one's own (Donahue et al. 2014).
//!
//! The backbone is an ONNX package; its graph up to the input of its last matrix product gives the features ([`backbone`]). It
//! stays as it is: every picture passes it once, through ONNX Runtime, and what comes out is kept ([`features`]). A linear layer is
//! trained on that with burn ([`head`]), and both become one graph again ([`package`]).

pub mod backbone;
pub mod features;
pub mod head;
pub mod package;

use std::path::PathBuf;

pub use backbone::Backbone;
pub use features::Features;
pub use head::{Head, HeadSettings};

/// A transfer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The package.
    #[error("read the backbone")]
    Package(#[from] inference::package::Error),
    /// The graph has no features to be used.
    #[error("the backbone `{id}` cannot be used: {why}")]
    Graph {
        /// The package's name.
        id: String,
        /// Why.
        why: String,
    },
    /// The tensors are not what the backbone takes.
    #[error("the backbone takes {wanted}, the tensors are {found}: preprocess the dataset with {options}")]
    Form {
        /// What it takes.
        wanted: String,
        /// What there is.
        found: String,
        /// The options that make it.
        options: String,
    },
    /// ONNX Runtime refuses it.
    #[error("load the backbone: {}", .0.full())]
    Load(inference::Refusal),
    /// ONNX Runtime does not run it.
    #[error("run the backbone")]
    Run(#[from] inference::EngineError),
    /// The disk does not let us.
    #[error("{what} `{}`", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too little to learn from.
    #[error("{0}")]
    Examples(String),
    /// The package with the new layer.
    #[error(transparent)]
    Export(#[from] crate::export::Error),
}
