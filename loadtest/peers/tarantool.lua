-- One Tarantool with one vinyl space, for the comparison:   tarantool tarantool.lua HOST:PORT WAL_MODE
--
-- Data and logs are in the current directory; "ready" is printed when it serves. The guest may read and write the
-- space, and call `into_runs`.

local fiber = require('fiber')

local GB, MB = 2 ^ 30, 2 ^ 20
local ASK_AGAIN_SECONDS = 0.02

box.cfg{
    listen = arg[1],
    wal_mode = arg[2],
    vinyl_cache = 1 * GB,
    vinyl_memory = 256 * MB, -- as much as Sherd's four shards have in their memtables
    net_msg_max = 100000, -- by default 768 requests in flight, fewer than 50 connections with 16 each
    checkpoint_interval = 0, -- snapshots are asked for, and fall into nobody's turn
}

local space = box.schema.space.create('bench', {engine = 'vinyl'})
local primary = space:create_index('primary', {parts = {{1, 'string'}}})

local function settle()
    repeat
        fiber.sleep(ASK_AGAIN_SECONDS)
        local scheduler = box.stat.vinyl().scheduler
    until scheduler.tasks_inprogress == 0 and scheduler.compaction_queue == 0
end

-- Dump what is in memory; with `compacts` merge all runs too, and read every row once, into the cache. Returns the
-- number of rows read.
function into_runs(compacts)
    box.snapshot()
    settle()
    if not compacts then
        return 0
    end
    primary:compact()
    settle()
    local rows = 0
    for _ in space:pairs() do
        rows = rows + 1
    end
    return rows
end

box.schema.user.grant('guest', 'read,write', 'space', 'bench')
box.schema.func.create('into_runs', {setuid = true})
box.schema.user.grant('guest', 'execute', 'function', 'into_runs')
io.write('ready\n')
io.flush()
