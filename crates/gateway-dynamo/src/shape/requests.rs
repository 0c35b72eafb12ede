//! The members of each operation's request, and their forms: data alone.

use super::Members;
use super::Shape::{self, Attribute, Attributes, Flag, Integer, List, Long, Map, Structure, Text};
use crate::operation::Operation;

/// The members of an operation's request.
pub(crate) fn of(operation: Operation) -> Members {
    use Operation as O;
    match operation {
        O::PutItem => PUT_ITEM,
        O::GetItem => GET_ITEM,
        O::UpdateItem => UPDATE_ITEM,
        O::DeleteItem => DELETE_ITEM,
        O::Query => QUERY,
        O::Scan => SCAN,
        O::BatchGetItem => BATCH_GET_ITEM,
        O::BatchWriteItem => BATCH_WRITE_ITEM,
        O::TransactGetItems => TRANSACT_GET_ITEMS,
        O::TransactWriteItems => TRANSACT_WRITE_ITEMS,
        O::CreateTable => CREATE_TABLE,
        O::UpdateTable => UPDATE_TABLE,
        O::UpdateTimeToLive => UPDATE_TIME_TO_LIVE,
        O::DeleteTable | O::DescribeTable | O::DescribeTimeToLive | O::DescribeContinuousBackups => TABLE,
        O::ListTables => &[("ExclusiveStartTableName", Text), ("Limit", Integer)],
        O::TagResource => &[("ResourceArn", Text), ("Tags", TAGS)],
        O::UntagResource => &[("ResourceArn", Text), ("TagKeys", TEXTS)],
        O::ListTagsOfResource => &[("ResourceArn", Text), ("NextToken", Text)],
        O::DescribeStream => DESCRIBE_STREAM,
        O::GetRecords => &[("ShardIterator", Text), ("Limit", Integer)],
        O::GetShardIterator => GET_SHARD_ITERATOR,
        O::ListStreams => &[("TableName", Text), ("Limit", Integer), ("ExclusiveStartStreamArn", Text)],
        O::DescribeShards => &[("TableName", Text), ("HotKeys", Flag)],
        O::AssignTenant => &[("TableName", Text), ("Tenant", Attribute), ("Shard", Integer)],
        O::ListTenants => &[("TableName", Text), ("ExclusiveStartTenant", Attribute), ("Limit", Integer)],
        O::Off(_) => OFF,
        O::DescribeEndpoints | O::DescribeLimits | O::NotYet(_) => &[],
    }
}

// ---- parts ----

const TEXTS: Shape = List(&Text);
const NAMES: Shape = Map(&Text);
const VALUES: Shape = List(&Attribute);
const EXPECTED: Shape = Map(&Structure(
    "ExpectedAttributeValue",
    &[("Value", Attribute), ("Exists", Flag), ("ComparisonOperator", Text), ("AttributeValueList", VALUES)],
));
const CONDITIONS: Shape =
    Map(&Structure("Condition", &[("ComparisonOperator", Text), ("AttributeValueList", VALUES)]));
const UPDATES: Shape = Map(&Structure("AttributeValueUpdate", &[("Value", Attribute), ("Action", Text)]));

const TAGS: Shape = List(&Structure("Tag", &[("Key", Text), ("Value", Text)]));
const DEFINITIONS: Shape =
    List(&Structure("AttributeDefinition", &[("AttributeName", Text), ("AttributeType", Text)]));
const KEYS: Shape = List(&Structure("KeySchemaElement", &[("AttributeName", Text), ("KeyType", Text)]));
const PROJECTION: Shape = Structure("Projection", &[("ProjectionType", Text), ("NonKeyAttributes", TEXTS)]);
const PROVISIONED: Shape =
    Structure("ProvisionedThroughput", &[("ReadCapacityUnits", Long), ("WriteCapacityUnits", Long)]);
const ON_DEMAND: Shape =
    Structure("OnDemandThroughput", &[("MaxReadRequestUnits", Long), ("MaxWriteRequestUnits", Long)]);
const WARM: Shape =
    Structure("WarmThroughput", &[("ReadUnitsPerSecond", Long), ("WriteUnitsPerSecond", Long)]);
const LOCAL: Shape =
    Structure("LocalSecondaryIndex", &[("IndexName", Text), ("KeySchema", KEYS), ("Projection", PROJECTION)]);
const INDEX: Members = &[
    ("IndexName", Text),
    ("KeySchema", KEYS),
    ("Projection", PROJECTION),
    ("ProvisionedThroughput", PROVISIONED),
    ("OnDemandThroughput", ON_DEMAND),
    ("WarmThroughput", WARM),
];
const INDEX_UPDATE: Members = &[
    ("IndexName", Text),
    ("ProvisionedThroughput", PROVISIONED),
    ("OnDemandThroughput", ON_DEMAND),
    ("WarmThroughput", WARM),
];
const INDEX_UPDATES: Shape = List(&Structure(
    "GlobalSecondaryIndexUpdate",
    &[
        ("Create", Structure("CreateGlobalSecondaryIndexAction", INDEX)),
        ("Update", Structure("UpdateGlobalSecondaryIndexAction", INDEX_UPDATE)),
        ("Delete", Structure("DeleteGlobalSecondaryIndexAction", &[("IndexName", Text)])),
    ],
));
const STREAM: Shape = Structure("StreamSpecification", &[("StreamEnabled", Flag), ("StreamViewType", Text)]);
const ENCRYPTION: Shape =
    Structure("SSESpecification", &[("Enabled", Flag), ("SSEType", Text), ("KMSMasterKeyId", Text)]);
const TIME_TO_LIVE: Shape =
    Structure("TimeToLiveSpecification", &[("AttributeName", Text), ("Enabled", Flag)]);
const RECOVERY: Shape = Structure(
    "PointInTimeRecoverySpecification",
    &[("PointInTimeRecoveryEnabled", Flag), ("RecoveryPeriodInDays", Integer)],
);

// ---- operations on items ----

const PUT_ITEM: Members = &[
    ("TableName", Text),
    ("Item", Attributes),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValues", Text),
    ("ReturnConsumedCapacity", Text),
    ("ReturnItemCollectionMetrics", Text),
    ("ReturnValuesOnConditionCheckFailure", Text),
    ("Expected", EXPECTED),
    ("ConditionalOperator", Text),
];
const GET_ITEM: Members = &[
    ("TableName", Text),
    ("Key", Attributes),
    ("ConsistentRead", Flag),
    ("ProjectionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ReturnConsumedCapacity", Text),
    ("AttributesToGet", TEXTS),
];
const UPDATE_ITEM: Members = &[
    ("TableName", Text),
    ("Key", Attributes),
    ("UpdateExpression", Text),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValues", Text),
    ("ReturnConsumedCapacity", Text),
    ("ReturnItemCollectionMetrics", Text),
    ("ReturnValuesOnConditionCheckFailure", Text),
    ("AttributeUpdates", UPDATES),
    ("Expected", EXPECTED),
    ("ConditionalOperator", Text),
];
const DELETE_ITEM: Members = &[
    ("TableName", Text),
    ("Key", Attributes),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValues", Text),
    ("ReturnConsumedCapacity", Text),
    ("ReturnItemCollectionMetrics", Text),
    ("ReturnValuesOnConditionCheckFailure", Text),
    ("Expected", EXPECTED),
    ("ConditionalOperator", Text),
];
const QUERY: Members = &[
    ("TableName", Text),
    ("IndexName", Text),
    ("KeyConditionExpression", Text),
    ("FilterExpression", Text),
    ("ProjectionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ExclusiveStartKey", Attributes),
    ("Limit", Integer),
    ("Select", Text),
    ("ConsistentRead", Flag),
    ("ScanIndexForward", Flag),
    ("ReturnConsumedCapacity", Text),
    ("KeyConditions", CONDITIONS),
    ("QueryFilter", CONDITIONS),
    ("AttributesToGet", TEXTS),
    ("ConditionalOperator", Text),
];
const SCAN: Members = &[
    ("TableName", Text),
    ("IndexName", Text),
    ("FilterExpression", Text),
    ("ProjectionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ExclusiveStartKey", Attributes),
    ("Limit", Integer),
    ("Select", Text),
    ("ConsistentRead", Flag),
    ("Segment", Integer),
    ("TotalSegments", Integer),
    ("ReturnConsumedCapacity", Text),
    ("ScanFilter", CONDITIONS),
    ("AttributesToGet", TEXTS),
    ("ConditionalOperator", Text),
];

// ---- many items ----

const BATCH_GET_ITEM: Members = &[
    (
        "RequestItems",
        Map(&Structure(
            "KeysAndAttributes",
            &[
                ("Keys", List(&Attributes)),
                ("ConsistentRead", Flag),
                ("ProjectionExpression", Text),
                ("ExpressionAttributeNames", NAMES),
                ("AttributesToGet", TEXTS),
            ],
        )),
    ),
    ("ReturnConsumedCapacity", Text),
];
const BATCH_WRITE_ITEM: Members = &[
    (
        "RequestItems",
        Map(&List(&Structure(
            "WriteRequest",
            &[
                ("PutRequest", Structure("PutRequest", &[("Item", Attributes)])),
                ("DeleteRequest", Structure("DeleteRequest", &[("Key", Attributes)])),
            ],
        ))),
    ),
    ("ReturnConsumedCapacity", Text),
    ("ReturnItemCollectionMetrics", Text),
];
const TRANSACT_GET_ITEMS: Members = &[
    (
        "TransactItems",
        List(&Structure(
            "TransactGetItem",
            &[(
                "Get",
                Structure(
                    "Get",
                    &[
                        ("TableName", Text),
                        ("Key", Attributes),
                        ("ProjectionExpression", Text),
                        ("ExpressionAttributeNames", NAMES),
                    ],
                ),
            )],
        )),
    ),
    ("ReturnConsumedCapacity", Text),
];
/// A check and a deletion have the same.
const TRANSACTED: Members = &[
    ("TableName", Text),
    ("Key", Attributes),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValuesOnConditionCheckFailure", Text),
];
const TRANSACTED_PUT: Members = &[
    ("TableName", Text),
    ("Item", Attributes),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValuesOnConditionCheckFailure", Text),
];
const TRANSACTED_UPDATE: Members = &[
    ("TableName", Text),
    ("Key", Attributes),
    ("UpdateExpression", Text),
    ("ConditionExpression", Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", Attributes),
    ("ReturnValuesOnConditionCheckFailure", Text),
];
const TRANSACT_WRITE_ITEMS: Members = &[
    (
        "TransactItems",
        List(&Structure(
            "TransactWriteItem",
            &[
                ("ConditionCheck", Structure("ConditionCheck", TRANSACTED)),
                ("Put", Structure("Put", TRANSACTED_PUT)),
                ("Delete", Structure("Delete", TRANSACTED)),
                ("Update", Structure("Update", TRANSACTED_UPDATE)),
            ],
        )),
    ),
    ("ClientRequestToken", Text),
    ("ReturnConsumedCapacity", Text),
    ("ReturnItemCollectionMetrics", Text),
];

// ---- tables ----

const TABLE: Members = &[("TableName", Text)];
const CREATE_TABLE: Members = &[
    ("TableName", Text),
    ("AttributeDefinitions", DEFINITIONS),
    ("KeySchema", KEYS),
    ("LocalSecondaryIndexes", List(&LOCAL)),
    ("GlobalSecondaryIndexes", List(&Structure("GlobalSecondaryIndex", INDEX))),
    ("BillingMode", Text),
    ("ProvisionedThroughput", PROVISIONED),
    ("OnDemandThroughput", ON_DEMAND),
    ("WarmThroughput", WARM),
    ("StreamSpecification", STREAM),
    ("SSESpecification", ENCRYPTION),
    ("Tags", TAGS),
    ("TableClass", Text),
    ("DeletionProtectionEnabled", Flag),
    ("ResourcePolicy", Text),
    ("GlobalTableSourceArn", Text),
    ("GlobalTableSettingsReplicationMode", Text),
];
const UPDATE_TABLE: Members = &[
    ("TableName", Text),
    ("AttributeDefinitions", DEFINITIONS),
    ("GlobalSecondaryIndexUpdates", INDEX_UPDATES),
    ("BillingMode", Text),
    ("ProvisionedThroughput", PROVISIONED),
    ("OnDemandThroughput", ON_DEMAND),
    ("WarmThroughput", WARM),
    ("StreamSpecification", STREAM),
    ("SSESpecification", ENCRYPTION),
    ("TableClass", Text),
    ("DeletionProtectionEnabled", Flag),
    ("ReplicaUpdates", List(&Structure("ReplicationGroupUpdate", &[]))),
    ("GlobalTableWitnessUpdates", List(&Structure("GlobalTableWitnessGroupUpdate", &[]))),
    ("MultiRegionConsistency", Text),
    ("GlobalTableSettingsReplicationMode", Text),
];
const UPDATE_TIME_TO_LIVE: Members = &[("TableName", Text), ("TimeToLiveSpecification", TIME_TO_LIVE)];

// ---- streams, and what is off ----

const DESCRIBE_STREAM: Members = &[
    ("StreamArn", Text),
    ("Limit", Integer),
    ("ExclusiveStartShardId", Text),
    ("ShardFilter", Structure("ShardFilter", &[("Type", Text), ("ShardId", Text)])),
];
const GET_SHARD_ITERATOR: Members =
    &[("StreamArn", Text), ("ShardId", Text), ("ShardIteratorType", Text), ("SequenceNumber", Text)];
/// Of all operations that are off, as far as what they answer depends on it.
const OFF: Members = &[
    ("TableName", Text),
    ("ResourceArn", Text),
    ("BackupArn", Text),
    ("BackupName", Text),
    ("ExportArn", Text),
    ("ImportArn", Text),
    ("GlobalTableName", Text),
    ("Limit", Integer),
    ("PointInTimeRecoverySpecification", RECOVERY),
];
