-- One vinyl (LSM) space with a primary index of strings, served to anybody on 127.0.0.1.
-- Port and directory come from the environment; wal_mode 'write' leaves fsync to the kernel.
box.cfg {
    listen = '127.0.0.1:' .. os.getenv('PEER_PORT'),
    work_dir = os.getenv('PEER_DIRECTORY'),
    wal_mode = 'write',
    vinyl_memory = 256 * 1024 * 1024,
    vinyl_cache = 128 * 1024 * 1024,
    log_level = 'warn',
}
box.once('schema', function()
    local space = box.schema.space.create('entries', { engine = 'vinyl', id = 512 })
    space:create_index('primary', { parts = { 1, 'string' } })
    box.schema.user.grant('guest', 'read,write,execute', 'universe')
end)
print('ready to serve')
