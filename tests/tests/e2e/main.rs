//! The product, started as a user would start it. One file per behaviour; `alone` holds what needs the machine to itself.

mod alone;
mod auth;
mod clients;
mod cluster;
mod conformance;
mod contract;
mod dependencies;
mod faults;
mod fleet;
mod hostile;
mod images;
mod legacy;
mod notifications;
mod sandbox;
mod shutdown;
mod traces;
mod trust;
