<?php

/*
 * Guest book, the demonstration site of the failover collection.
 *
 * It shows which web host served the page and which database host answered, so that a switchover can be watched in a
 * browser. It keeps three promises while the database moves:
 *  - reading and writing never hang: connecting and waiting for an answer have short time-outs;
 *  - an entry that could not be saved stays in the form, and the answer is 503;
 *  - sending the same form again is harmless: each form carries a token that is unique in the table.
 *
 * Settings come from the PHP pool: SITE_HOST, DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD.
 */

declare(strict_types=1);

const ENTRIES_SHOWN = 20;
const NAME_MAX = 60;
const MESSAGE_MAX = 500;
const CONNECT_TIMEOUT_SECONDS = 2;
const ANSWER_TIMEOUT_SECONDS = 4;
const CSRF_COOKIE = 'guestbook_form';

/* MariaDB error numbers, https://mariadb.com/kb/en/mariadb-error-code-reference/ */
const ERROR_DUPLICATE_KEY = 1062;
const ERROR_NO_SUCH_TABLE = 1146;
const ERRORS_READ_ONLY = [1290, 1792, 1836];

/** The visitor's input, as typed. */
final class Entry
{
    public function __construct(
        public readonly string $name,
        public readonly string $message,
        public readonly string $token,
    ) {
    }

    public static function blank(): self
    {
        return new self('', '', bin2hex(random_bytes(16)));
    }

    /** Read the posted form; a token of another shape is replaced. */
    public static function posted(): self
    {
        $token = post_field('token');
        return new self(
            trim(post_field('name')),
            trim(post_field('message')),
            is_token($token) ? $token : bin2hex(random_bytes(16)),
        );
    }

    /** What is wrong with the input, or null. */
    public function problem(): ?string
    {
        return match (true) {
            !has_length($this->name, NAME_MAX) => 'Please give a name of 1 to ' . NAME_MAX . ' characters.',
            !has_length($this->message, MESSAGE_MAX)
                => 'Please write a message of 1 to ' . MESSAGE_MAX . ' characters.',
            default => null,
        };
    }
}

/** The table of entries behind one connection. Every method may throw mysqli_sql_exception. */
final class Guestbook
{
    private const CREATE = <<<'SQL'
        CREATE TABLE IF NOT EXISTS guestbook_entries (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            token CHAR(32) CHARACTER SET ascii NOT NULL UNIQUE,
            name VARCHAR(60) NOT NULL,
            message VARCHAR(500) NOT NULL,
            web_host VARCHAR(64) NOT NULL,
            database_host VARCHAR(64) NOT NULL,
            written_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
        ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
        SQL;

    private function __construct(
        private readonly mysqli $connection,
        public readonly string $host,
        public readonly bool $writable,
    ) {
    }

    public static function open(): self
    {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $connection = mysqli_init();
        $connection->options(MYSQLI_OPT_CONNECT_TIMEOUT, CONNECT_TIMEOUT_SECONDS);
        $connection->options(MYSQLI_OPT_READ_TIMEOUT, ANSWER_TIMEOUT_SECONDS);
        // mysqli warns as well as throws; the exception is the one that is handled.
        @$connection->real_connect(
            setting('DB_HOST'),
            setting('DB_USER'),
            setting('DB_PASSWORD'),
            setting('DB_NAME'),
            (int) setting('DB_PORT'),
        );
        $connection->set_charset('utf8mb4');
        $row = $connection->query('SELECT @@hostname, @@global.read_only')->fetch_row();
        return new self($connection, (string) $row[0], $row[1] === '0');
    }

    /** Save an entry. Saving one with the same token again changes nothing. */
    public function add(Entry $entry, string $webHost): void
    {
        try {
            $this->withTable(function () use ($entry, $webHost): void {
                $statement = $this->connection->prepare(
                    'INSERT INTO guestbook_entries (token, name, message, web_host, database_host) VALUES (?, ?, ?, ?, @@hostname)',
                );
                $statement->execute([$entry->token, $entry->name, $entry->message, $webHost]);
            });
        } catch (mysqli_sql_exception $error) {
            if ($error->getCode() !== ERROR_DUPLICATE_KEY) {
                throw $error;
            }
        }
    }

    /** The newest entries, newest first, as rows of strings; `at` is in seconds since 1970. */
    public function latest(int $count): array
    {
        return $this->withTable(function () use ($count): array {
            $statement = $this->connection->prepare(
                'SELECT name, message, web_host, database_host, UNIX_TIMESTAMP(written_at) AS at'
                . ' FROM guestbook_entries ORDER BY id DESC LIMIT ?',
            );
            $statement->execute([$count]);
            return $statement->get_result()->fetch_all(MYSQLI_ASSOC);
        });
    }

    /** Run a statement; on a database that was never used before, create the table and run it again. */
    private function withTable(callable $statement): mixed
    {
        try {
            return $statement();
        } catch (mysqli_sql_exception $error) {
            if ($error->getCode() !== ERROR_NO_SUCH_TABLE) {
                throw $error;
            }
        }
        $this->connection->query(self::CREATE);
        return $statement();
    }
}

/** A setting of the pool; an absent one is a mistake of the configuration, not of the visitor. */
function setting(string $name): string
{
    $value = getenv($name);
    if ($value === false) {
        throw new RuntimeException("$name is not set in the PHP pool");
    }
    return $value;
}

function post_field(string $name): string
{
    return is_string($_POST[$name] ?? null) ? $_POST[$name] : '';
}

function is_token(string $text): bool
{
    return preg_match('/\A[0-9a-f]{32}\z/', $text) === 1;
}

/** Whether the text is valid UTF-8 of 1 to $max characters. */
function has_length(string $text, int $max): bool
{
    return preg_match('/\A.{1,' . $max . '}\z/us', $text) === 1;
}

function html(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
}

/** Why an entry is not (or perhaps not) saved, in the visitor's words. */
function failure_text(mysqli_sql_exception $error): string
{
    if (in_array($error->getCode(), ERRORS_READ_ONLY, true)) {
        return 'The database takes no writes at this moment. Your entry is still in the form: please send it again.';
    }
    return 'The database did not confirm your entry. It is still in the form: please send it again, it will not appear twice.';
}

/** The cookie that shows that a form was made for this browser; made when absent. */
function form_key(): string
{
    $key = $_COOKIE[CSRF_COOKIE] ?? null;
    if (!is_string($key) || !is_token($key)) {
        $key = bin2hex(random_bytes(16));
        setcookie(CSRF_COOKIE, $key, ['path' => '/', 'httponly' => true, 'samesite' => 'Strict']);
    }
    return $key;
}

header('Cache-Control: no-store');
header("Content-Security-Policy: default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");

$method = $_SERVER['REQUEST_METHOD'];
if (!in_array($method, ['GET', 'HEAD', 'POST'], true)) {
    http_response_code(405);
    header('Allow: GET, HEAD, POST');
    exit;
}

$webHost = getenv('SITE_HOST') ?: gethostname();
$formKey = form_key();
$entry = $method === 'POST' ? Entry::posted() : Entry::blank();
$notice = $method === 'GET' && isset($_GET['saved']) ? 'Thank you. Your entry is saved.' : null;
$problem = null;
$status = 200;
$entries = [];
$databaseHost = null;

if ($method === 'POST') {
    if (!hash_equals($formKey, post_field('form'))) {
        [$status, $problem] = [403, 'This form was not made for your browser, or is too old. Please send it again.'];
    } elseif (($problem = $entry->problem()) !== null) {
        $status = 422;
    }
}

try {
    $book = Guestbook::open();
    $databaseHost = $book->host;
    if ($method === 'POST' && $status === 200) {
        try {
            $book->add($entry, $webHost);
            header('Location: /?saved', true, 303);
            exit;
        } catch (mysqli_sql_exception $error) {
            error_log('guest book: entry not saved: ' . $error->getMessage());
            [$status, $problem] = [503, failure_text($error)];
        }
    } elseif (!$book->writable) {
        $notice = 'The database takes no writes at this moment. Reading works.';
    }
    $entries = $book->latest(ENTRIES_SHOWN);
} catch (mysqli_sql_exception $error) {
    error_log('guest book: ' . $error->getMessage());
    $status = 503;
    $problem = $method === 'POST'
        ? failure_text($error)
        : 'The database does not answer at this moment. The entries come back with it.';
}

http_response_code($status);
if ($status === 503) {
    header('Retry-After: 2');
}
?>
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guest book</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header>
  <h1>Guest book</h1>
  <dl class="hosts">
    <div><dt>page from</dt><dd><?= html($webHost) ?></dd></div>
    <div<?= $databaseHost === null ? ' class="away"' : '' ?>><dt>database</dt><dd><?= html($databaseHost ?? 'no answer') ?></dd></div>
    <div><dt>time</dt><dd><time datetime="<?= gmdate('c') ?>"><?= gmdate('H:i:s') ?> UTC</time></dd></div>
  </dl>
</header>
<main>
<?php if ($problem !== null) : ?>
  <p class="message problem" role="alert"><?= html($problem) ?></p>
<?php elseif ($notice !== null) : ?>
  <p class="message" role="status"><?= html($notice) ?></p>
<?php endif ?>
  <form method="post" action="/">
    <input type="hidden" name="form" value="<?= html($formKey) ?>">
    <input type="hidden" name="token" value="<?= html($entry->token) ?>">
    <label for="name">Name</label>
    <input id="name" name="name" maxlength="<?= NAME_MAX ?>" required autocomplete="name" value="<?= html($entry->name) ?>">
    <label for="message">Message</label>
    <textarea id="message" name="message" maxlength="<?= MESSAGE_MAX ?>" rows="3" required><?= html($entry->message) ?></textarea>
    <button type="submit">Sign the book</button>
  </form>
<?php if ($databaseHost !== null && $entries === [] && $status !== 503) : ?>
  <p class="empty">Nobody has signed yet. Be the first.</p>
<?php endif ?>
<?php foreach ($entries as $row) : ?>
  <article>
    <p class="text"><?= nl2br(html($row['message'])) ?></p>
    <p class="by">
      <strong><?= html($row['name']) ?></strong>
      <time datetime="<?= gmdate('c', (int) $row['at']) ?>"><?= gmdate('j M Y, H:i:s', (int) $row['at']) ?> UTC</time>
      <span class="path"><?= html($row['web_host']) ?> → <?= html($row['database_host']) ?></span>
    </p>
  </article>
<?php endforeach ?>
</main>
<footer>
  <p>Each entry shows the web host that took it and the database host that stored it. Reload this page during a switchover.</p>
</footer>
</body>
</html>
