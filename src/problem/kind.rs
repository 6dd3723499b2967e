//! The table of everything that can go wrong, one line a kind.

use http::StatusCode;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:ident $code:literal $title:literal;)+) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[doc = $doc])+ $name,)+ }

        impl ProblemKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The slug that a program compares.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The sentence that a person reads first.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }
        }
    };
}

kinds! {
    /// The body is not JSON, not UTF-8, or broken off.
    MalformedBody = BAD_REQUEST "malformed-body" "The body cannot be read";
    /// The query string cannot be read.
    MalformedQuery = BAD_REQUEST "malformed-query" "The query string cannot be read";
    /// The head of the request cannot be read.
    MalformedRequest = BAD_REQUEST "malformed-request" "The request cannot be read";
    /// `Idempotency-Key` is missing where it is required.
    IdempotencyKeyRequired = BAD_REQUEST "idempotency-key-required"
        "An Idempotency-Key header is required";
    /// `Idempotency-Key` is not 1 to 255 visible characters.
    IdempotencyKeyInvalid = BAD_REQUEST "idempotency-key-invalid"
        "The Idempotency-Key header is not valid";
    /// No valid credential.
    Unauthenticated = UNAUTHORIZED "unauthenticated" "Sign in, or send a valid API key";
    /// The login link or code was used, has expired or never existed.
    LinkInvalid = UNAUTHORIZED "link-invalid" "This login link or code is no longer valid";
    /// The plan's limit is used up.
    QuotaExceeded = PAYMENT_REQUIRED "quota-exceeded" "The plan's limit is used up";
    /// The tenant's own cap on what overage may cost is reached.
    SpendCapReached = PAYMENT_REQUIRED "spend-cap-reached" "The spend cap is reached";
    /// The plan does not include that.
    PlanRequired = PAYMENT_REQUIRED "plan-required" "The plan does not include this";
    /// The operator switched the feature off for this tenant.
    FeatureOff = FORBIDDEN "feature-off" "This feature is switched off for the account";
    /// The caller's role or key does not allow that.
    RoleRequired = FORBIDDEN "role-required" "Your role does not allow this";
    /// The request came from another site.
    CrossSite = FORBIDDEN "cross-site" "The request came from another site";
    /// Nothing is there, or it belongs to somebody else.
    NotFound = NOT_FOUND "not-found" "There is nothing here";
    /// The path exists, the method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "The method is not allowed here";
    /// The body took too long to arrive.
    RequestTimeout = REQUEST_TIMEOUT "request-timeout" "The body took too long to arrive";
    /// The first request with this key is still running.
    RequestInFlight = CONFLICT "request-in-flight" "The same request is still running";
    /// The tenant has too many open reservations.
    TooManyReservations = CONFLICT "too-many-reservations" "Too many reservations are open";
    /// The tenant has as many webhook endpoints as it may.
    TooManyWebhookEndpoints = CONFLICT "too-many-webhook-endpoints"
        "There are too many webhook endpoints";
    /// The webhook endpoint is switched off.
    WebhookEndpointDisabled = CONFLICT "webhook-endpoint-disabled"
        "The webhook endpoint is switched off";
    /// The reservation was already ended in another way.
    ReservationSettled = CONFLICT "reservation-settled" "The reservation has already ended";
    /// The commit asks for more than is held and available.
    ExceedsReservation = CONFLICT "exceeds-reservation" "More than the reservation holds";
    /// What is owed in the open period cannot be billed in another currency.
    OwedInOtherCurrency = CONFLICT "owed-in-other-currency" "Something is owed in another currency";
    /// The tenant has too many grants.
    TooManyGrants = CONFLICT "too-many-grants" "Too many grants are in force";
    /// The job's state does not allow that.
    JobState = CONFLICT "job-state" "The job is not in a state that allows this";
    /// The tenant has too many unfinished jobs.
    TooManyJobs = CONFLICT "too-many-jobs" "Too many jobs are unfinished";
    /// Only a tenant in test mode has a clock that can be advanced.
    NotInTestMode = CONFLICT "not-in-test-mode" "This tenant lives in real time";
    /// What runs in real time cannot run in a time that stands still.
    InTestMode = CONFLICT "in-test-mode" "This tenant lives in test time";
    /// A correction would take more back than was used.
    NegativeUsage = CONFLICT "negative-usage" "More would be taken back than was used";
    /// The plan has no overage that a cap could be put on.
    NoOverage = CONFLICT "no-overage" "The plan has no overage";
    /// A grant of that name is there already.
    GrantExists = CONFLICT "grant-exists" "The grant exists already";
    /// The reservation's time is over.
    ReservationExpired = GONE "reservation-expired" "The reservation has expired";
    /// The body is larger than allowed.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large";
    /// More events than one call takes.
    TooManyEvents = PAYLOAD_TOO_LARGE "too-many-events" "Too many events in one call";
    /// The address is longer than allowed.
    UriTooLong = URI_TOO_LONG "uri-too-long" "The address is too long";
    /// The body's content type is not the one that is read here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type"
        "The content type is not supported";
    /// The range lies outside of the file.
    RangeNotSatisfiable = RANGE_NOT_SATISFIABLE "range-not-satisfiable"
        "The range lies outside of the file";
    /// Fields are missing, unknown or out of range.
    Invalid = UNPROCESSABLE_ENTITY "invalid" "Some fields are not valid";
    /// The catalogue has no such meter.
    UnknownMeter = UNPROCESSABLE_ENTITY "unknown-meter" "There is no such meter";
    /// The commit names a meter of which nothing is held.
    MeterNotHeld = UNPROCESSABLE_ENTITY "meter-not-held" "The reservation holds none of this meter";
    /// The event's time lies before the periods that are still open for it.
    EventTooOld = UNPROCESSABLE_ENTITY "event-too-old" "The event is too old";
    /// The event's time lies in the future.
    EventInFuture = UNPROCESSABLE_ENTITY "event-in-future" "The event lies in the future";
    /// The key was used for another request.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency-key-reused"
        "The Idempotency-Key was used for another request";
    /// Too many requests.
    RateLimited = TOO_MANY_REQUESTS "rate-limited" "Too many requests";
    /// A bug, or a fault of this machine.
    Internal = INTERNAL_SERVER_ERROR "internal" "Something went wrong here";
    /// More work than can be done now.
    Overloaded = SERVICE_UNAVAILABLE "overloaded" "The service is busy";
    /// Something that is needed is not reachable.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "The service is not available right now";
    /// The tenant's accounting is being repaired.
    TenantQuarantined = SERVICE_UNAVAILABLE "tenant-quarantined"
        "This account is being repaired";
    /// It took longer than a request may.
    DeadlineExceeded = GATEWAY_TIMEOUT "deadline-exceeded" "It took too long";
    /// It may have happened; the same key tells.
    OutcomeUnknown = GATEWAY_TIMEOUT "outcome-unknown" "It is not known whether it happened";
    /// No room is left for files.
    StorageFull = INSUFFICIENT_STORAGE "storage-full" "No room is left";
}
