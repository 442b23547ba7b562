//! Control's end of a link: made from a request, answered with a response.
//!
//! The handlers of control's API call it after they have checked who is there.

use super::reader::{self, BoxError};
use super::{Link, LinkHandle, LinkLimits, LinkMessage, OutgoingBody};
use hyper::Response;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue};

/// Turns the body of a request into a link. The response has to be returned at once; its body
/// lives as long as the link. Needs a tokio runtime.
pub fn accept<Out, In, B>(
    body: B,
    limits: LinkLimits,
) -> (Link<Out, In>, Response<OutgoingBody<Out>>)
where
    Out: LinkMessage,
    In: LinkMessage,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let handle = LinkHandle::new();
    let (outgoing, sender) = OutgoingBody::new(handle.clone(), &limits);
    let receiver = reader::start(body, handle.clone(), limits);
    let mut response = Response::new(outgoing);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    let link = Link {
        sender,
        receiver,
        handle,
    };
    (link, response)
}
