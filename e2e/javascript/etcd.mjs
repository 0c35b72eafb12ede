// etcd3, etcd's client for Node.js, through each endpoint of a running cluster: what its users call, each answer asserted; what one
// endpoint wrote is read through the next.
//
//     node etcd.mjs URL[,URL...]

import assert from 'node:assert/strict';
import { Etcd3 } from 'etcd3';

const urls = process.argv[2].split(',');
const connect = (url) => new Etcd3({ hosts: url });

async function keys(here, there) {
    await here.put('a').value('one');
    assert.equal(await there.get('a').string(), 'one');
    const branch = await here.if('a', 'Value', '==', 'one').then(here.put('a').value('two')).else(here.get('a')).commit();
    assert.equal(branch.succeeded, true);
    await here.put('b').value('2');
    assert.deepEqual(await there.getAll().sort('Key', 'Descend').limit(1).keys(), ['b']);
    assert.deepEqual(await there.getAll().strings(), { a: 'two', b: '2' });
    assert.equal((await here.delete().key('a').getPrevious())[0].value.toString(), 'two');
    const count = () => here.stm().transact(async (tx) => {
        const value = Number(await tx.get('n').string());
        await tx.put('n').value(value + 1);
    });
    await Promise.all([count(), count(), count()]);
    assert.equal(await there.get('n').string(), '3');
    await here.delete().all();
    assert.deepEqual(await there.getAll().keys(), []);
}

async function leases(here, there) {
    const lease = here.lease(60);
    await lease.put('l').value('v');
    assert.equal((await lease.keepaliveOnce()).TTL, '60');
    assert.equal(await there.get('l').string(), 'v');
    await lease.revoke();
    assert.equal(await there.get('l').string(), null);
}

async function watches(here, there) {
    const watcher = await here.watch().prefix('w').create();
    const event = new Promise((resolve, reject) => watcher.on('put', resolve).on('error', reject));
    await there.put('w1').value('x');
    assert.equal((await event).value.toString(), 'x');
    await watcher.cancel();
}

async function locks(here, there) {
    const held = await here.lock('lock').ttl(60).acquire();
    await assert.rejects(there.lock('lock').ttl(60).acquire());
    await held.release();
    assert.equal(await there.lock('lock').do(async () => 'held'), 'held');
}

async function elections(here, there) {
    const campaign = here.election('election', 60).campaign('me');
    await new Promise((resolve, reject) => campaign.on('elected', resolve).on('error', reject));
    assert.equal(await there.election('election', 60).leader(), 'me');
    await campaign.resign();
}

for (const [at, url] of urls.entries()) {
    const [one, other] = [connect(url), connect(urls[(at + 1) % urls.length])];
    const [here, there] = [one.namespace(`js-${at}/`), other.namespace(`js-${at}/`)];
    await here.delete().all();
    for (const part of [keys, leases, watches, locks, elections]) {
        await part(here, there);
    }
    const members = (await one.cluster.memberList({})).members;
    assert.deepEqual(members.flatMap((member) => member.clientURLs).sort(), [...urls].sort());
    assert.match((await one.maintenance.status()).version, /^\d+\.\d+\.\d+$/);
    one.close();
    other.close();
    console.log(`javascript: ${url}: ok`);
}
