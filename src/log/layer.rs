//! Where events come in: each becomes a record, with the fields of the spans that it is in, and each record a line.

use tracing::{Event, Subscriber, span};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    queue::Queue,
    record::{Collected, MAX_FIELDS, Record},
    render::Form,
};

/// Makes a record of each event, and a line of each record.
pub struct Records {
    queue: Queue,
    form: Form,
}

impl Records {
    pub fn new(queue: Queue, form: Form) -> Self {
        Self { queue, form }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Records {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut collected = Collected::default();
        attributes.record(&mut collected);
        span.extensions_mut().insert(collected);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(collected) = span.extensions_mut().get_mut::<Collected>() {
            values.record(collected);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut record = Record::new(event);
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(of_span) = extensions.get::<Collected>() else { continue };
            for (name, value) in &of_span.fields {
                // What is nearer to the event says it better.
                if record.fields.len() < MAX_FIELDS && !record.fields.iter().any(|(known, _)| known == name) {
                    record.fields.push((name, value.clone()));
                }
            }
        }
        self.queue.push(self.form.line(&record));
    }
}
