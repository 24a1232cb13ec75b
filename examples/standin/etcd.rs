//! What an API server passes on to etcd.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// How long etcd is waited for: upstream's own limit for a request, seen on a real cluster as HTTP 500 after 7 s.
const PATIENCE: Duration = Duration::from_secs(7);
/// What etcd closes without an answer within this time of the question, it would have answered over gRPC: it lets what is in flight
/// come to its end. What is closed later was cut by the kill that ends the stop timeout.
const LET_FINISH: Duration = Duration::from_millis(500);
/// Before it is dialled again.
const AGAIN: Duration = Duration::from_millis(50);

/// Passes one request on, over a connection of its own. It waits for etcd to take the connection; a write that etcd took
/// and did not answer is not repeated, but where a real API server would have had its answer.
pub async fn pass_on(place: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match timeout_at(Instant::now() + PATIENCE, ask(place, request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => failed(format!("etcd: {why}")),
        Err(_) => failed("etcdserver: request timed out".into()),
    }
}

fn failed(why: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(why)));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn ask(place: &str, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failed> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    loop {
        let asked = Instant::now();
        let (head, answer) = match ask_once(place, &path, body.clone()).await {
            Ok(answered) => answered,
            // As upstream's client of etcd does: a read is asked again, a write is not.
            Err(why)
                if path.ends_with("/range") || (asked.elapsed() < LET_FINISH && is_of_a_gateway_that_ended(&why)) =>
            {
                sleep(AGAIN).await;
                continue;
            }
            Err(why) => return Err(why),
        };
        if !is_of_a_closed_gateway(head.status, &answer) {
            return Ok(Response::from_parts(head, Full::new(answer)));
        }
        sleep(AGAIN).await;
    }
}

/// etcd's gateway from JSON is a client of etcd's own. It loses its connection the moment etcd is told to stop, and then says 503
/// of what was in flight, and 408 of what came too late to be sent. A real API server speaks gRPC: what it has in flight is
/// still answered, and what was not sent goes to another member.
fn is_of_a_closed_gateway(status: StatusCode, answer: &[u8]) -> bool {
    const NOT_SENT: &[u8] = b"grpc: the client connection is closing";
    status == StatusCode::SERVICE_UNAVAILABLE
        || (status == StatusCode::REQUEST_TIMEOUT && answer.windows(NOT_SENT.len()).any(|part| part == NOT_SENT))
}

/// The gateway's process ended before it said anything.
fn is_of_a_gateway_that_ended(why: &Failed) -> bool {
    why.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
}

async fn ask_once(place: &str, path: &str, body: Bytes) -> Result<(Parts, Bytes), Failed> {
    let stream = loop {
        match TcpStream::connect(place).await {
            Ok(stream) => break stream,
            Err(_) => sleep(AGAIN).await,
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post(path).header("host", place).body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok((head, body))
}
