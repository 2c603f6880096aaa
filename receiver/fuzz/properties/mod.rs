//! What holds for any bytes whatever, one function for each fuzz target. `cargo fuzz` runs them for as long as it is let,
//! `receiver/tests/properties.rs` for a bounded number of cases and for all seeds. A property that does not hold panics.

mod deliveries;
mod edge;

pub use deliveries::{NOW, payload, secrets, traceparent, verify};
pub use edge::{allow, forwarded};
use towline_receiver::Provider;

/// A property by its target's name.
pub type Target = (String, Box<dyn Fn(&[u8])>);

/// Every target there is.
pub fn targets() -> Vec<Target> {
    let mut targets: Vec<Target> = vec![
        ("allow".to_owned(), Box::new(allow)),
        ("forwarded".to_owned(), Box::new(forwarded)),
        ("traceparent".to_owned(), Box::new(traceparent)),
    ];
    for provider in Provider::ALL {
        let name = provider.name().replace('-', "_");
        targets.push((format!("verify_{name}"), Box::new(move |data| _ = verify(provider, data))));
        targets.push((format!("payload_{name}"), Box::new(move |data| payload(provider, data))));
    }
    targets
}
