//! A small Kubernetes API server: nodes, pods, leases, endpoints and endpoint slices, with list, get, watch, create,
//! replace, merge patch and delete as the real one answers them. It holds no cluster of its own: the simulator, or a
//! lab with processes that stand in for kubelets, feeds its [`Store`].

mod http;
mod objects;
mod store;
mod sync;
mod watch;

pub use http::serve;
pub use store::{Change, Kind, Problem, Store};
pub(crate) use sync::{fill, run as sync};
