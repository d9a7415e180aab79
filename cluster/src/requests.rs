//! Requests with replies, in Node's format of messages: the numbers of requests, the replies, and the waiting
//! callers. Nothing is sent here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cluster_core::{Event, Message, MessageError, Structured, WorkerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::RequestError;

/// The field `cmd` of a request.
const REQUEST: &str = "CLUSTER_REQUEST";

/// The field `cmd` of a reply.
const REPLY: &str = "CLUSTER_REPLY";

/// Abandoned requests are removed at this number of waiting requests, and later when the number has doubled.
const FIRST_SWEEP: usize = 64;

/// A request of the peer. The peer waits for the reply: see [`Worker::request`](crate::Worker::request).
///
/// A request arrives as a message, recognized by [`of`](IncomingRequest::of):
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// use cluster::{IncomingRequest, WorkerEvent};
///
/// let worker = cluster::Worker::join()?;
/// while let Some(event) = worker.next().await {
///     if let WorkerEvent::Message { message, .. } = event
///         && let Some(request) = IncomingRequest::of(&message)
///     {
///         let number: u64 = request.body()?;
///         worker.send(request.reply(&(2 * number))?)?;
///     }
/// }
/// # Ok(()) }
/// ```
///
/// In JSON a request is `{ "cmd": "CLUSTER_REQUEST", "id": 7, "body": ... }`. The reply is
/// `{ "cmd": "CLUSTER_REPLY", "id": 7, "body": ... }`, or has a text `error` in place of `body`. A message in
/// the form of a reply is no event if this process has sent a request with the number, even if the reply is
/// late or from another peer. Only a reply with a socket is an event; the caller of the request receives
/// [`RequestError::Socket`]. A Node.js worker replies with:
///
/// ```js
/// process.on('message', ({ cmd, id, body }) => {
///   if (cmd === 'CLUSTER_REQUEST') process.send({ cmd: 'CLUSTER_REPLY', id, body: 2 * body })
/// })
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct IncomingRequest {
    id: u64,
    message: Message,
}

impl IncomingRequest {
    /// The request in a message. `None`: the message is not a request.
    pub fn of(message: &Message) -> Option<Self> {
        Some(IncomingRequest { id: number(message, REQUEST)?, message: message.clone() })
    }

    /// The body of the request, as any type.
    ///
    /// # Errors
    /// The body has another type, or is nested too deep.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        body(&self.message)
    }

    /// The message that replies to the request, for `send`.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Message, MessageError> {
        Message::new(&Envelope { cmd: REPLY, id: self.id, body: value })
    }

    /// A message to refuse the request: the caller receives [`RequestError::Refused`] with the text.
    pub fn refuse(&self, error: impl fmt::Display) -> Message {
        Message::from(serde_json::json!({ "cmd": REPLY, "id": self.id, "error": error.to_string() }))
    }
}

#[derive(Serialize)]
struct Envelope<'a, T: ?Sized> {
    cmd: &'static str,
    id: u64,
    body: &'a T,
}

/// The fields of every request and reply, for any body.
#[derive(Deserialize)]
struct Head {
    cmd: String,
    id: u64,
}

/// The body of a request or a reply. As in JavaScript, a body of `null` or `undefined` counts as absent.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    body: Value,
}

/// The body of a structured clone without a JSON form, such as a big integer.
#[derive(Deserialize)]
struct CloneBody<T> {
    body: T,
}

/// The refusal in a reply, if any.
#[derive(Deserialize)]
struct Refusal {
    error: Option<Value>,
}

fn has_json(message: &Message) -> bool {
    message.json_text().is_ok()
}

fn body<T: DeserializeOwned>(message: &Message) -> Result<T, MessageError> {
    if !has_json(message) {
        return Ok(message.to::<CloneBody<T>>()?.body);
    }
    Message::from(message.to::<Body>()?.body).to()
}

/// The `id` of a message with this `cmd`.
fn number(message: &Message, cmd: &str) -> Option<u64> {
    let head: Head = if let Some(text) = message.object_with(cmd) {
        serde_json::from_str(&text).ok()?
    } else if message.contains(cmd) && !has_json(message) {
        head_of_clone(&message.structured().ok()?)?
    } else {
        return None;
    };
    (head.cmd == cmd).then_some(head.id)
}

/// The head of a structured clone without a JSON form.
fn head_of_clone(value: &Structured) -> Option<Head> {
    let Structured::Object(members) = value else { return None };
    let member = |name| members.iter().find(|(key, _)| key.to_string_lossy() == name).map(|(_, value)| value);
    let (Structured::String(cmd), Structured::Number(id)) = (member("cmd")?, member("id")?) else {
        return None;
    };
    // Whole numbers only: the text of another number does not parse.
    Some(Head { cmd: cmd.to_string_lossy().into_owned(), id: id.to_string().parse().ok()? })
}

/// The value in a reply.
fn answer<T: DeserializeOwned>(reply: &Message) -> Result<T, RequestError> {
    match reply.to::<Refusal>().map_err(RequestError::Message)?.error {
        Some(Value::String(text)) => Err(RequestError::Refused(text)),
        Some(error) => Err(RequestError::Refused(error.to_string())),
        None => body(reply).map_err(RequestError::Message),
    }
}

/// A request that waits for its reply.
#[derive(Debug)]
struct OpenRequest {
    /// The worker that was asked; `None`: the primary.
    peer: Option<WorkerId>,
    reply: oneshot::Sender<Result<Message, RequestError>>,
}

/// The requests of this process that wait for replies.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests {
    last: u64,
    waiting: BTreeMap<u64, OpenRequest>,
    next_sweep: usize,
}

/// The future reply to one request.
#[derive(Debug)]
pub(crate) struct PendingReply(oneshot::Receiver<Result<Message, RequestError>>);

impl PendingReply {
    /// Waits for the reply. If the sender was dropped, the peer has exited or is disconnected.
    pub(crate) async fn receive<T: DeserializeOwned>(self) -> Result<T, RequestError> {
        answer(&self.0.await.map_err(|_| RequestError::Disconnected)??)
    }
}

/// The result of an exchange, or [`RequestError::Timeout`] after the time.
pub(crate) async fn within<T>(
    time: Duration,
    exchange: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    timeout(time, exchange).await.unwrap_or(Err(RequestError::Timeout(time)))
}

impl OpenRequests {
    /// Numbers requests from `last` + 1.
    pub(crate) fn after(last: u64) -> Self {
        OpenRequests { last, ..OpenRequests::default() }
    }

    /// The number of the last request.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Starts a request: returns the message to send, and the future reply.
    pub(crate) fn start<T: Serialize + ?Sized>(
        &mut self,
        peer: Option<WorkerId>,
        question: &T,
    ) -> Result<(Message, PendingReply), RequestError> {
        let envelope = Envelope { cmd: REQUEST, id: self.last + 1, body: question };
        let message = Message::new(&envelope).map_err(RequestError::Message)?;
        self.last += 1;
        self.sweep();
        let (reply, replied) = oneshot::channel();
        self.waiting.insert(self.last, OpenRequest { peer, reply });
        Ok((message, PendingReply(replied)))
    }

    /// Removes abandoned requests when the number of requests has doubled.
    fn sweep(&mut self) {
        if self.waiting.len() >= self.next_sweep.max(FIRST_SWEEP) {
            self.waiting.retain(|_, waiting| !waiting.reply.is_closed());
            self.next_sweep = 2 * self.waiting.len();
        }
    }

    /// Delivers a reply to the caller of the request, and drops a late reply. False: the message belongs to
    /// the program, because the message is not a reply or has a socket. The caller of a reply with a socket
    /// receives an error.
    pub(crate) fn take(&mut self, peer: Option<WorkerId>, message: &Message, has_socket: bool) -> bool {
        // A program without requests does not pay for the parsing.
        if self.last == 0 {
            return false;
        }
        // A reply to an unused number belongs to the program.
        let Some(id) = number(message, REPLY).filter(|id| (1..=self.last).contains(id)) else { return false };
        // One worker cannot reply in place of another.
        if self.waiting.get(&id).is_some_and(|waiting| waiting.peer == peer)
            && let Some(waiting) = self.waiting.remove(&id)
        {
            // The caller may no longer wait.
            let reply = if has_socket { Err(RequestError::Socket) } else { Ok(message.clone()) };
            let _ = waiting.reply.send(reply);
        }
        !has_socket
    }

    /// Delivers a reply in an event of a primary. False: the event is no reply.
    pub(crate) fn take_event(&mut self, event: &Event) -> bool {
        if let Event::Message { worker, message, handle } = event {
            return self.take(Some(*worker), message, handle.is_some());
        }
        if let Event::Disconnect { worker } = event {
            self.disconnect(Some(*worker));
        }
        false
    }

    /// Called when the channel of the peer is closed: no reply follows.
    pub(crate) fn disconnect(&mut self, peer: Option<WorkerId>) {
        self.waiting.retain(|_, waiting| waiting.peer != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{BigInt, JsString};
    use serde_json::json;

    const PEER: Option<WorkerId> = Some(WorkerId(1));

    fn start(requests: &mut OpenRequests, question: &str) -> (IncomingRequest, PendingReply) {
        let (message, pending) = requests.start(PEER, question).expect("a text");
        (IncomingRequest::of(&message).expect("a request"), pending)
    }

    /// Replies in another order reach their own callers, once.
    #[tokio::test]
    async fn replies_match_by_number() {
        let mut requests = OpenRequests::default();
        let (first, first_reply) = start(&mut requests, "one");
        let (second, second_reply) = start(&mut requests, "two");
        for request in [&second, &first] {
            let question: String = request.body().expect("a text");
            let reply = request.reply(&format!("re: {question}")).expect("a text");
            assert!(requests.take(PEER, &reply, false) && requests.take(PEER, &reply, false));
        }
        assert_eq!(first_reply.receive::<String>().await.expect("a reply"), "re: one");
        assert_eq!(second_reply.receive::<String>().await.expect("a reply"), "re: two");
    }

    /// A reply of another worker, another message, and a request are no replies for the caller.
    #[tokio::test]
    async fn foreign_messages_are_no_replies() {
        let mut requests = OpenRequests::default();
        assert!(!requests.take(PEER, &Message::from("CLUSTER_REPLY"), false));
        let (request, pending) = start(&mut requests, "one");
        assert!(requests.take(Some(WorkerId(2)), &request.reply("forged").expect("a text"), false));
        for other in [
            json!("CLUSTER_REPLY"),
            json!("text"),
            json!(["CLUSTER_REPLY", 1]),
            json!(["CLUSTER_REQUEST", 1]),
        ] {
            assert!(!requests.take(PEER, &Message::from(&other), false));
            assert_eq!(IncomingRequest::of(&Message::from(other)), None);
        }
        for id in [0, 2] {
            assert!(!requests.take(
                PEER,
                &Message::from(json!({ "cmd": REPLY, "id": id, "body": 1 })),
                false
            ));
        }
        requests.disconnect(Some(WorkerId(2)));
        assert!(requests.take(PEER, &request.refuse("busy"), false));
        assert!(
            matches!(pending.receive::<String>().await, Err(RequestError::Refused(text)) if text == "busy")
        );
    }

    /// The wait ends when the peer disconnects, at the timeout, and with a reply of another type.
    #[tokio::test]
    async fn failures_end_the_wait() {
        let mut requests = OpenRequests::default();
        let (request, pending) = start(&mut requests, "one");
        assert!(requests.take(PEER, &request.reply("text").expect("a text"), false));
        assert!(matches!(pending.receive::<u64>().await, Err(RequestError::Message(_))));
        let (_, pending) = start(&mut requests, "two");
        assert!(matches!(
            within(Duration::ZERO, pending.receive::<u64>()).await,
            Err(RequestError::Timeout(_))
        ));
        let (_, pending) = start(&mut requests, "three");
        requests.disconnect(PEER);
        assert!(matches!(pending.receive::<u64>().await, Err(RequestError::Disconnected)));
        assert!(requests.waiting.is_empty());
    }

    /// A reply with an unreadable body ends the request at once, and a request with an unreadable body is an
    /// error of the receiver. An `error` of `null` is no error.
    #[tokio::test]
    async fn body_decides_no_match() {
        let mut requests = OpenRequests::default();
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let message = |cmd, id, member: &str| {
            let text = format!(r#"{{"cmd":"{cmd}","id":{id},{member}}}"#);
            Message::from_json_text(text).expect("JSON")
        };
        let (request, pending) = start(&mut requests, "one");
        assert!(requests.take(PEER, &message(REPLY, request.id, &format!(r#""body":{deep}"#)), false));
        assert_eq!(pending.receive::<Value>().await, Err(RequestError::Message(MessageError::TooDeep)));
        let (request, pending) = start(&mut requests, "two");
        assert!(requests.take(PEER, &message(REPLY, request.id, r#""error":null,"body":5"#), false));
        assert_eq!(pending.receive::<u64>().await, Ok(5));
        let request =
            IncomingRequest::of(&message(REQUEST, 1, &format!(r#""body":{deep}"#))).expect("a request");
        assert_eq!(request.body::<Value>(), Err(MessageError::TooDeep));
    }

    /// A big integer has no JSON form, but can be a question and a reply between peers with structured
    /// clones.
    #[tokio::test]
    async fn big_integers_are_bodies() {
        let mut requests = OpenRequests::default();
        let message = |cmd: &str, id: u64| {
            let member = |name: &str, value| (JsString::from(name), value);
            let id = f64::from(u32::try_from(id).expect("a small number"));
            Message::from_structured(&Structured::Object(vec![
                member("cmd", Structured::String(cmd.into())),
                member("id", Structured::Number(id)),
                member("body", Structured::BigInt(BigInt::from(1_i128 << 100))),
            ]))
            .expect("a structured clone")
        };
        let (request, pending) = start(&mut requests, "one");
        assert!(requests.take(PEER, &message(REPLY, request.id), false));
        assert_eq!(pending.receive::<i128>().await, Ok(1 << 100));
        let question = IncomingRequest::of(&message(REQUEST, 7)).expect("a request");
        assert_eq!((question.id, question.body::<i128>()), (7, Ok(1 << 100)));
        assert_eq!(IncomingRequest::of(&message("other CLUSTER_REQUEST", 7)), None);
    }

    /// A reply with a socket is left to the program, and ends the wait of the caller before the timeout.
    #[tokio::test]
    async fn reply_with_socket_is_an_error() {
        let mut requests = OpenRequests::default();
        let (request, pending) = start(&mut requests, "one");
        assert!(!requests.take(PEER, &request.reply("text").expect("a text"), true));
        assert_eq!(pending.receive::<String>().await, Err(RequestError::Socket));
    }

    /// Requests that time out are removed when others start.
    #[tokio::test]
    async fn abandoned_requests_are_removed() {
        let mut requests = OpenRequests::default();
        for _ in 0..1000 {
            drop(start(&mut requests, "again"));
        }
        assert!(requests.waiting.len() <= FIRST_SWEEP);
    }
}
