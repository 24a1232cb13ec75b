//! Who sonoba is to the API server: the kubeconfig, what it refers to, and what happens when that ends in the middle of a run.
//!
//! In reading order: `problem` is what can be wrong, in words; `plugin` runs a credential plugin within a time limit; `load` reads
//! a kubeconfig with all that it refers to, so that kube itself opens no file, runs no command and meets no value that it would
//! break down at; `ending` tells when it ends; `renewing` sends every request, and reads all of it anew when it changed, when it
//! is about to end, and when the API server does not accept it any more.

mod ending;
mod load;
mod plugin;
mod problem;
mod renewing;
#[cfg(test)]
mod tests;

pub(super) use load::Source;
pub(super) use problem::CredentialProblem;
pub(super) use renewing::{Renewer, client};
