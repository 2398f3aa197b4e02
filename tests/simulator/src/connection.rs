//! TCP connections that are numbered, counted, and can be cut from inside without an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handle on one accepted connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    cut: Arc<Cut>,
}

#[derive(Debug, Default)]
struct Cut {
    requested: AtomicBool,
    waker: AtomicWaker,
}

impl Connection {
    fn new(number: u64) -> Self {
        Self {
            number,
            cut: Arc::default(),
        }
    }

    /// Closes the socket. What was not written yet never is: the server's task sees an I/O error and drops the connection.
    pub(crate) fn cut(&self) {
        self.cut.requested.store(true, Ordering::SeqCst);
        self.cut.waker.wake();
    }

    /// Fails once the connection was cut, and else has the task woken when it is.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.cut.waker.register(context.waker());
        if self.cut.requested.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Told about the connections of one listener.
pub(crate) trait ConnectionObserver: Send + Sync + 'static {
    /// A connection was accepted; returns its number.
    fn opened(&self) -> u64;
    /// Hands over the handle of a connection that was just accepted.
    fn opened_as(&self, connection: Connection);
    fn closed(&self, number: u64);
}

/// A listener whose connections are [`ObservedStream`]s.
pub(crate) struct ObservedListener<O> {
    inner: TcpListener,
    observer: Arc<O>,
}

impl<O: ConnectionObserver> ObservedListener<O> {
    pub(crate) fn new(inner: TcpListener, observer: Arc<O>) -> Self {
        Self { inner, observer }
    }
}

impl<O: ConnectionObserver> Listener for ObservedListener<O> {
    type Io = ObservedStream<O>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // Small answers should not wait for acknowledgements; a socket that refuses the option is only slower.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(self.observer.opened());
        self.observer.opened_as(connection.clone());
        let io = ObservedStream {
            stream,
            connection,
            observer: self.observer.clone(),
        };
        (io, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A socket that fails once its [`Connection`] was cut.
pub(crate) struct ObservedStream<O: ConnectionObserver> {
    stream: TcpStream,
    connection: Connection,
    observer: Arc<O>,
}

impl<O: ConnectionObserver> Drop for ObservedStream<O> {
    fn drop(&mut self) {
        self.observer.closed(self.connection.number);
    }
}

impl<O: ConnectionObserver> AsyncRead for ObservedStream<O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<O: ConnectionObserver> AsyncWrite for ObservedStream<O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<O: ConnectionObserver> Connected<IncomingStream<'_, ObservedListener<O>>> for Connection {
    fn connect_info(stream: IncomingStream<'_, ObservedListener<O>>) -> Self {
        stream.io().connection.clone()
    }
}
