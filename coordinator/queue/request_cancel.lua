-- Cancels a job that does not run; marks one that runs. Asking twice is the same as asking once.
-- KEYS: job, events, call, queued
-- ARGV: id, message when cancelled at once, message when marked
local job, events, call, queued = unpack(KEYS)
local id, cancelled, marked = unpack(ARGV)

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(call) then
  return done(job)
end
local phase = field(job, 'phase')
local now = number_text(now_ms())
if phase == 'queued' or phase == 'validating_files' then
  dequeue(job, id, queued)
  redis.call('HSET', job, 'phase', 'cancelled', 'cancel_requested', '1', 'finished_at_ms', now)
  append_event(job, events, 'info', 'message', cancelled, '', now)
elseif phase == 'running' then
  if field(job, 'cancel_requested') ~= '1' then
    redis.call('HSET', job, 'cancel_requested', '1')
    append_event(job, events, 'info', 'message', marked, '', now)
  end
else
  redis.call('DEL', call)
  return refuse('conflict', 'the job has ended already (' .. phase .. '): ' .. id)
end
return done(job)
