-- Stores a new job with its first event, unless the owner's idempotency key made one already.
-- KEYS: job, events, call, sequence, created, created of the owner, queued, idempotency
-- ARGV: id, owner, phase, priority, workers, spec, request, message, idempotency window in ms (0: no key)
local job, events, call, sequence, created, created_of_owner, queued, idempotency = unpack(KEYS)
local id, owner, phase, priority, workers, spec, request, message, window = unpack(ARGV)

if window ~= '0' then
  local earlier = redis.call('GET', idempotency)
  if earlier then
    return done('tf:{' .. earlier .. '}:job')
  end
end
if called_before(call) then
  return done(job)
end
if redis.call('EXISTS', job) == 1 then
  return refuse('conflict', 'there is a job of that id: ' .. id)
end

local now = number_text(now_ms())
local number = redis.call('INCR', sequence)
redis.call('HSET', job, 'id', id, 'owner', owner, 'phase', phase, 'attempt', '0',
           'priority', priority, 'workers', workers, 'agent', '', 'cancel_requested', '0',
           'created_at_ms', now, 'started_at_ms', '0', 'finished_at_ms', '0',
           'spec', spec, 'request', request, 'sequence', number)
redis.call('ZADD', created, number, id)
redis.call('ZADD', created_of_owner, number, id)
if phase == 'queued' then
  enqueue(job, id, queued)
end
append_event(job, events, 'info', 'message', message, '', now)
if window ~= '0' then
  redis.call('SET', idempotency, id, 'PX', window)
end
return done(job)
