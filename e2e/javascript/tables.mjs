// AWS's SDK for JavaScript (version 3) against the DynamoDB door, once through each node: the plain client, the document client
// with its own types, pages, waiters, and errors by their classes. What one node wrote is read through the next.
//
//   node tables.mjs URL[,URL...]

import assert from "node:assert/strict";
import {
    BatchGetItemCommand,
    BatchWriteItemCommand,
    ConditionalCheckFailedException,
    CreateTableCommand,
    DeleteItemCommand,
    DeleteTableCommand,
    DescribeTableCommand,
    DescribeTimeToLiveCommand,
    DynamoDBClient,
    GetItemCommand,
    IdempotentParameterMismatchException,
    ListTagsOfResourceCommand,
    PutItemCommand,
    ResourceInUseException,
    ResourceNotFoundException,
    ScanCommand,
    TagResourceCommand,
    TransactGetItemsCommand,
    TransactionCanceledException,
    TransactWriteItemsCommand,
    UpdateItemCommand,
    UpdateTableCommand,
    UpdateTimeToLiveCommand,
    paginateListTables,
    paginateQuery,
    paginateScan,
    waitUntilTableExists,
    waitUntilTableNotExists,
} from "@aws-sdk/client-dynamodb";
import { DynamoDBDocument, NumberValue } from "@aws-sdk/lib-dynamodb";

const connect = (endpoint) =>
    new DynamoDBClient({ endpoint, region: "us-east-1", credentials: { accessKeyId: "any", secretAccessKey: "any" }, maxAttempts: 3 });

const key = (p, c) => ({ p: { S: p }, c: { N: String(c) } });

async function table(client, TableName) {
    const request = {
        TableName,
        AttributeDefinitions: ["p:S", "c:N", "g:S", "x:N"].map((part) => {
            const [AttributeName, AttributeType] = part.split(":");
            return { AttributeName, AttributeType };
        }),
        KeySchema: [
            { AttributeName: "p", KeyType: "HASH" },
            { AttributeName: "c", KeyType: "RANGE" },
        ],
        LocalSecondaryIndexes: [
            {
                IndexName: "local",
                KeySchema: [
                    { AttributeName: "p", KeyType: "HASH" },
                    { AttributeName: "x", KeyType: "RANGE" },
                ],
                Projection: { ProjectionType: "KEYS_ONLY" },
            },
        ],
        GlobalSecondaryIndexes: [
            { IndexName: "global", KeySchema: [{ AttributeName: "g", KeyType: "HASH" }], Projection: { ProjectionType: "ALL" } },
        ],
        BillingMode: "PAY_PER_REQUEST",
    };
    await client.send(new CreateTableCommand(request));
    await waitUntilTableExists({ client, maxWaitTime: 30, minDelay: 1 }, { TableName });
    await assert.rejects(client.send(new CreateTableCommand(request)), ResourceInUseException);
}

async function items(here, there, TableName) {
    const item = {
        ...key("types", 1),
        number: { N: "-12345678901234567890.123456789012345678" },
        bytes: { B: new Uint8Array([0, 255, 1]) },
        yes: { BOOL: true },
        nothing: { NULL: true },
        texts: { SS: ["a", "b"] },
        numbers: { NS: ["1", "2.5"] },
        list: { L: [{ S: "x" }, { L: [] }] },
        map: { M: { deep: { M: { er: { S: "é€𝄞" } } } } },
    };
    await here.send(new PutItemCommand({ TableName, Item: item }));
    const got = await there.send(new GetItemCommand({ TableName, Key: key("types", 1), ConsistentRead: true }));
    assert.deepEqual(got.Item, item);
    const update = {
        TableName,
        Key: key("types", 1),
        UpdateExpression: "SET #m.deep.er = :v, #l = list_append(#l, :l) ADD numbers :n",
        ExpressionAttributeNames: { "#m": "map", "#l": "list" },
        ExpressionAttributeValues: { ":v": { N: "1.50" }, ":l": { L: [{ BOOL: false }] }, ":n": { NS: ["3"] } },
        ReturnValues: "UPDATED_NEW",
        ReturnConsumedCapacity: "INDEXES",
    };
    const { Attributes, ConsumedCapacity } = await there.send(new UpdateItemCommand(update));
    assert.deepEqual(Attributes, {
        map: { M: { deep: { M: { er: { N: "1.5" } } } } },
        list: { L: [{ S: "x" }, { L: [] }, { BOOL: false }] },
        numbers: { NS: ["1", "2.5", "3"] },
    });
    assert.deepEqual(ConsumedCapacity, { TableName, CapacityUnits: 1, Table: { CapacityUnits: 1 } });
    const reserved = { ...update, UpdateExpression: "SET list = :v", ExpressionAttributeNames: undefined };
    await assert.rejects(here.send(new UpdateItemCommand(reserved)), /Attribute name is a reserved keyword; reserved keyword: list/);
    const failed = here.send(
        new DeleteItemCommand({
            TableName,
            Key: key("types", 1),
            ConditionExpression: "attribute_not_exists(p)",
            ReturnValuesOnConditionCheckFailure: "ALL_OLD",
        }),
    );
    await assert.rejects(failed, (error) => error instanceof ConditionalCheckFailedException && error.Item.yes.BOOL === true);
    await assert.rejects(here.send(new GetItemCommand({ TableName, Key: { p: { S: "a" } } })), {
        name: "ValidationException",
        message: "The provided key element does not match the schema",
    });
    await assert.rejects(here.send(new GetItemCommand({ TableName: "nothing", Key: key("a", 1) })), ResourceNotFoundException);
}

async function documents(here, there, TableName) {
    const writer = DynamoDBDocument.from(here);
    const reader = DynamoDBDocument.from(there);
    const document = { p: "document", c: 1, n: 1.25, b: true, nothing: null, list: [1, "x", { deep: [] }], set: new Set(["a", "b"]) };
    await writer.put({ TableName, Item: { ...document, large: NumberValue.from("12345678901234567890123456789012345678") } });
    const { Item } = await reader.get({ TableName, Key: { p: "document", c: 1 }, ConsistentRead: true });
    assert.equal(String(Item.large), "12345678901234567890123456789012345678");
    delete Item.large;
    assert.deepEqual(Item, document);
    const { Attributes } = await reader.update({
        TableName,
        Key: { p: "document", c: 1 },
        UpdateExpression: "SET n = n + :n",
        ExpressionAttributeValues: { ":n": 1 },
        ReturnValues: "UPDATED_NEW",
    });
    assert.deepEqual(Attributes, { n: 2.25 });
}

async function many(here, there, TableName) {
    const puts = (from) =>
        Array.from({ length: 25 }, (_, i) => ({
            PutRequest: { Item: { ...key("many", from + i), x: { N: String(100 - i) }, g: { S: "g" } } },
        }));
    for (const from of [0, 25]) {
        const { UnprocessedItems } = await here.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: puts(from) } }));
        assert.deepEqual(UnprocessedItems, {});
    }
    const { Responses } = await there.send(
        new BatchGetItemCommand({
            RequestItems: { [TableName]: { Keys: [key("many", 3), key("many", 99)], ConsistentRead: true, ProjectionExpression: "c" } },
        }),
    );
    assert.deepEqual(Responses[TableName], [{ c: { N: "3" } }]);
    const gathered = async (paginator) => {
        const found = [];
        for await (const page of paginator) found.push(...page.Items.map((item) => Number(item.c.N)));
        return found;
    };
    // The paginators write into the request that they are given.
    const query = (more) => ({
        TableName,
        KeyConditionExpression: "p = :p",
        ExpressionAttributeValues: { ":p": { S: "many" } },
        ConsistentRead: true,
        ...more,
    });
    const all = Array.from({ length: 50 }, (_, i) => i);
    assert.deepEqual(await gathered(paginateQuery({ client: there, pageSize: 7 }, query())), all);
    assert.deepEqual(await gathered(paginateQuery({ client: here, pageSize: 8 }, query({ ScanIndexForward: false }))), all.toReversed());
    assert.equal((await gathered(paginateQuery({ client: there, pageSize: 9 }, query({ IndexName: "local" })))).length, 50);
    const scan = { TableName, FilterExpression: "p = :p", ExpressionAttributeValues: { ":p": { S: "many" } }, ConsistentRead: true };
    const parts = await Promise.all(
        [0, 1, 2].map((Segment) => gathered(paginateScan({ client: there, pageSize: 5 }, { ...scan, Segment, TotalSegments: 3 }))),
    );
    assert.deepEqual(parts.flat().sort((a, b) => a - b), all);
    const counted = async () =>
        (await there.send(new ScanCommand({ TableName, IndexName: "global", Select: "COUNT" }))).Count;
    await eventually("the global index", async () => (await counted()) === 50);
}

async function eventually(what, holds) {
    for (let at = 0; at < 200; at++) {
        if (await holds()) return;
        await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`${what}: not within 20 s`);
}

async function transactions(here, there, TableName) {
    const update = (amount, ClientRequestToken) =>
        new TransactWriteItemsCommand({
            ClientRequestToken,
            TransactItems: [
                {
                    Update: {
                        TableName,
                        Key: key("account", 1),
                        UpdateExpression: "ADD amount :n",
                        ConditionExpression: "attribute_not_exists(amount) OR amount < :most",
                        ExpressionAttributeValues: { ":n": { N: String(amount) }, ":most": { N: "10" } },
                        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
                    },
                },
                { Put: { TableName, Item: key("account", 2) } },
            ],
        });
    const token = `${TableName}-once`.slice(-36);
    await here.send(update(6, token));
    await there.send(update(6, token));
    const read = new TransactGetItemsCommand({
        TransactItems: [{ Get: { TableName, Key: key("account", 1) } }, { Get: { TableName, Key: key("account", 3) } }],
    });
    const { Responses } = await there.send(read);
    assert.deepEqual([Responses[0].Item.amount, Responses[1].Item], [{ N: "6" }, undefined]);
    await assert.rejects(here.send(update(7, token)), IdempotentParameterMismatchException);
    await here.send(update(6));
    await assert.rejects(there.send(update(1)), (error) => {
        assert.ok(error instanceof TransactionCanceledException);
        assert.deepEqual(error.CancellationReasons.map((reason) => reason.Code), ["ConditionalCheckFailed", "None"]);
        assert.deepEqual(error.CancellationReasons[0].Item.amount, { N: "12" });
        return true;
    });
}

async function settings(here, there, TableName) {
    const described = async () => (await there.send(new DescribeTableCommand({ TableName }))).Table;
    const { TableArn: ResourceArn, TableStatus, CreationDateTime } = await described();
    assert.equal(TableStatus, "ACTIVE");
    assert.ok(Math.abs(CreationDateTime.getTime() - Date.now()) < 600_000);
    await here.send(new TagResourceCommand({ ResourceArn, Tags: [{ Key: "k", Value: "v" }] }));
    assert.deepEqual((await there.send(new ListTagsOfResourceCommand({ ResourceArn }))).Tags, [{ Key: "k", Value: "v" }]);
    await here.send(
        new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification: { AttributeName: "end", Enabled: true } }),
    );
    const { TimeToLiveDescription } = await there.send(new DescribeTimeToLiveCommand({ TableName }));
    assert.equal(TimeToLiveDescription.TimeToLiveStatus, "ENABLED");
    await here.send(new UpdateTableCommand({ TableName, GlobalSecondaryIndexUpdates: [{ Delete: { IndexName: "global" } }] }));
    await eventually("the index is gone", async () => !(await described()).GlobalSecondaryIndexes);
    const names = [];
    for await (const page of paginateListTables({ client: there, pageSize: 2 }, {})) names.push(...page.TableNames);
    assert.ok(names.includes(TableName));
    await here.send(new DeleteTableCommand({ TableName }));
    await waitUntilTableNotExists({ client: there, maxWaitTime: 30, minDelay: 1 }, { TableName });
}

const urls = process.argv[2].split(",");
for (const [at, url] of urls.entries()) {
    const [here, there] = [connect(url), connect(urls[(at + 1) % urls.length])];
    const name = `js.${at}`;
    await table(here, name);
    for (const part of [items, documents, many, transactions, settings]) await part(here, there, name);
    here.destroy();
    there.destroy();
    console.log(`javascript: ${url}: ok`);
}
