-- Stores a new job with its first event, unless the owner's idempotency key made one already.
-- KEYS: job, events, sequence, created, created of the owner, queued, idempotency, group
-- ARGV: call, id, owner, phase, priority, message, idempotency window in ms (0: no key), group, then pairs of field
--       and value
local job, events, sequence, created, created_of_owner, queued, idempotency, group_index = unpack(KEYS)
local call, id, owner, phase, priority, message, window, group = unpack(ARGV)

if window ~= '0' then
  local earlier = redis.call('GET', idempotency)
  if earlier then
    return done('tf:{' .. earlier .. '}:job')
  end
end
if redis.call('EXISTS', job) == 1 then
  if called_before(job, call) then
    return done(job)
  end
  return refuse('conflict', 'there is a job of that id: ' .. id)
end

local now = number_text(now_ms())
local number = redis.call('INCR', sequence)
redis.call('HSET', job, 'id', id, 'owner', owner, 'phase', phase, 'attempt', '0', 'priority', priority,
           'group', group, 'stop', 'none', 'created_at_ms', now, 'queued_at_ms', phase == 'queued' and now or '',
           'sequence', number, 'calls', ' ' .. call, 'events', '1', unpack(ARGV, 9))
redis.call('ZADD', created, number, id)
redis.call('ZADD', created_of_owner, number, id)
if group ~= '' then
  redis.call('ZADD', group_index, number, id)
end
if phase == 'queued' then
  redis.call('ZADD', queued, number_text(-tonumber(priority)), member_of(number, id))
end
add_event(events, '1', 'info', 'message', message, '', now)
if window ~= '0' then
  redis.call('SET', idempotency, id, 'PX', window)
end
return {'ok', {'created_at_ms', now}}  -- The rest is what the caller gave.
