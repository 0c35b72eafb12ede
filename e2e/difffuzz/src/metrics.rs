//! What a server counts, from its page of metrics.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The number behind `name` on the page of the server at `url`, if it stands there.
pub async fn gauge(url: &str, name: &str) -> io::Result<Option<f64>> {
    let host = url.trim_start_matches("http://");
    let fetched = tokio::time::timeout(PATIENCE, page(host)).await;
    let page = fetched.map_err(|_| io::Error::other("no page of metrics in time"))??;
    Ok(number(&page, name))
}

async fn page(host: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(host).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    connection.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn number(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_that_name_alone_counts() {
        let page = "# TYPE slow gauge\nslow_total 3\nslow 0\n";
        assert_eq!(
            (number(page, "slow"), number(page, "slow_total"), number(page, "none")),
            (Some(0.0), Some(3.0), None)
        );
    }
}
