//! Events are played through the engine, with times and without a clock: what it decides is what is looked at.

mod claims;
mod depends;
mod hosts;
mod jobs;
mod judged;
mod laws;
mod members;
mod passes;
mod ranges;
mod secrets;
mod sources;
mod world;
